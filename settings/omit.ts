/** Copies an object without some of its keys. */
export function omit<T extends object, K extends keyof T & string>(
  fields: T,
  ...keys: readonly K[]
): Omit<T, K> {
  const others = Object.entries(fields).filter(([key]) => !(keys as readonly string[]).includes(key));
  return Object.fromEntries(others) as Omit<T, K>;
}
