/** Whether a stack is made for a while, as a pull request's is: `down` removes its state, too. */
export function isEphemeral(stack: string): boolean {
  return /^pr-\d+$/.test(stack);
}

/** Whether people depend on a stack, so that its name must be typed before it is removed. */
export function isProtected(stack: string): boolean {
  return stack === "prod";
}
