/**
 * Whether an application and each of its services takes calls: from when the services are exported until the application drains, except
 * while an operator has taken a service offline. Probes and health service both read it, so that they cannot differ.
 */
export class Readiness {
  readonly #listeners: (() => void)[] = [];
  readonly #keys: () => readonly string[];
  readonly #offline = new Set<string>();
  #exported = false;
  #draining = false;

  /** @param keys the exported services' keys (default: none) */
  constructor(keys: () => readonly string[] = () => []) {
    this.#keys = keys;
  }

  /** Whether every service has been exported. */
  get exported(): boolean {
    return this.#exported;
  }

  /**
   * Whether the application takes calls. One that exports several services stays ready while one of them is online, as Dubbo's own
   * probe has it: the others' callers would lose it too.
   */
  get ready(): boolean {
    const keys = this.#keys();
    return this.#open && (keys.length === 0 || keys.some((key) => this.isOnline(key)));
  }

  /** Whether a service takes calls. */
  isServing(key: string): boolean {
    return this.#open && this.isOnline(key);
  }

  /** Whether a service has not been taken offline. */
  isOnline(key: string): boolean {
    return !this.#offline.has(key);
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

  /** Takes services offline, or online again. */
  setOnline(keys: readonly string[], online: boolean): void {
    for (const key of keys) {
      if (online) this.#offline.delete(key);
      else this.#offline.add(key);
    }
    this.#notify();
  }

  /** Calls `listener` after each change. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  get #open(): boolean {
    return this.#exported && !this.#draining;
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}
