/** Whether a stack is made for a while, as a pull request's is: `down` removes its state, too. */
export function isEphemeral(stack: string): boolean {
  return /^pr-\d+$/.test(stack);
}
