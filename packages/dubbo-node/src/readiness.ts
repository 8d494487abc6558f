/**
 * Readiness of an application and of each service.
 * Both take calls from the export of the services until the drain, unless an operator takes a
 * service offline. Probes and health service read the same state, so that they always agree.
 */
export class Readiness {
  readonly #listeners: (() => void)[] = [];
  readonly #keys: () => readonly string[];
  readonly #offline = new Set<string>();
  #exported = false;
  #draining = false;

  /** @param keys keys of the exported services (default: none) */
  constructor(keys: () => readonly string[] = () => []) {
    this.#keys = keys;
  }

  /** True once all services are exported. */
  get exported(): boolean {
    return this.#exported;
  }

  /**
   * True while the application takes calls.
   * An application with several services stays ready while one of them is online, as in Dubbo.
   * Otherwise callers of the online services would lose the application.
   */
  get ready(): boolean {
    const keys = this.#keys();
    return this.#open && (keys.length === 0 || keys.some((key) => this.isOnline(key)));
  }

  /** Reports whether a service takes calls. */
  isServing(key: string): boolean {
    return this.#open && this.isOnline(key);
  }

  /** Reports whether a service is online. */
  isOnline(key: string): boolean {
    return !this.#offline.has(key);
  }

  /** Marks all services as exported. */
  markExported(): void {
    this.#exported = true;
    this.#notify();
  }

  /** Marks the application as draining. */
  markDraining(): void {
    this.#draining = true;
    this.#notify();
  }

  /** Takes services offline, or brings them online again. */
  setOnline(keys: readonly string[], online: boolean): void {
    for (const key of keys) {
      if (online) this.#offline.delete(key);
      else this.#offline.add(key);
    }
    this.#notify();
  }

  /** Registers a listener for every change. */
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
