// Most calls have no byte to keep, so they share a buffer.
const NONE = Buffer.alloc(0);

/**
 * Bytes that arrive in pieces. They are merged as they come, so that many tiny pieces do not take
 * more memory than their bytes. The capacity doubles, so that all copying together stays linear.
 */
export class Bytes {
  #buffer = NONE;
  #length = 0;

  /** Number of bytes. */
  get length(): number {
    return this.#length;
  }

  /** The bytes. A later {@link append} can write behind them, but does not change them. */
  get view(): Buffer {
    return this.#buffer.subarray(0, this.#length);
  }

  /** Adds bytes. */
  append(chunk: Buffer): void {
    const length = this.#length + chunk.length;
    if (length > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(length, 2 * this.#buffer.length));
      this.view.copy(larger);
      this.#buffer = larger;
    }
    chunk.copy(this.#buffer, this.#length);
    this.#length = length;
  }
}
