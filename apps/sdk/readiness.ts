/**
 * Whether an application takes calls: from when its services are exported until it drains.
 * Probes and health service both read it, so that they cannot differ.
 */
export class Readiness {
  readonly #listeners = new Set<() => void>();
  #exported = false;
  #draining = false;

  /** Whether every service has been exported. */
  get exported(): boolean {
    return this.#exported;
  }

  /** Whether the application takes calls. */
  get ready(): boolean {
    return this.#exported && !this.#draining;
  }

  /** Every service is exported. */
  markExported(): void {
    this.#exported = true;
    this.#notify();
  }

  /** The application is about to end. */
  markDraining(): void {
    this.#draining = true;
    this.#notify();
  }

  /** Calls `listener` after each change; returns what ends that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}
