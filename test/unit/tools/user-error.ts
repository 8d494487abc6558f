import { UserError } from "../../../common/errors.ts";

/** Returns the UserError of a promise. Another error, or none, fails the test. */
export async function userError(promise: Promise<unknown>): Promise<{ message: string; fix: string }> {
  const error: unknown = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof UserError)) throw new Error("this is no UserError", { cause: error });
  return { message: error.message, fix: error.fix };
}
