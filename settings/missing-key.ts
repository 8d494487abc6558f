/** Returns the error for a missing key without a default; undefined for other errors. */
export function missingKeyError({ input }: { readonly input?: unknown }): string | undefined {
  return input === undefined ? "must be set" : undefined;
}
