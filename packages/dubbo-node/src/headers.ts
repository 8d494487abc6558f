/** Header fields to send, by name. */
export type HeaderFields = Record<string, string | number>;

/**
 * Received header fields, as text in Latin-1, as Java reads them.
 * A field that was sent twice has its last value, as in Dubbo.
 */
export class Headers {
  readonly #raw: readonly string[];
  #values: Map<string, string> | undefined;

  /** @param raw names and values, alternating, as Node.js gives them */
  constructor(raw: readonly string[] = []) {
    this.#raw = raw;
  }

  /** Returns a value by its name in lower case; undefined if it is missing or empty. */
  get(name: string): string | undefined {
    const value = this.#all.get(name);
    return value === "" ? undefined : value;
  }

  /** Returns all fields by their names in lower case, without pseudo-headers such as `:path`. */
  entries(): Iterable<[string, string]> {
    return this.#all.entries();
  }

  // Parsed on first use, because most handlers read few fields or none.
  get #all(): ReadonlyMap<string, string> {
    if (this.#values === undefined) {
      const values = new Map<string, string>();
      for (let index = 0; index + 1 < this.#raw.length; index += 2) {
        const name = this.#raw[index] ?? "";
        if (!name.startsWith(":")) values.set(name.toLowerCase(), this.#raw[index + 1] ?? "");
      }
      this.#values = values;
    }
    return this.#values;
  }
}
