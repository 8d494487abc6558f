/** What is said where a key without a default is not set; all else is left to its schema. */
export function unset({ input }: { readonly input?: unknown }): string | undefined {
  return input === undefined ? "must be set" : undefined;
}
