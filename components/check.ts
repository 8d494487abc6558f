import * as pulumi from "@pulumi/pulumi";
import type { z } from "zod";

/**
 * Checks one argument of a component against its schema: at once where its value is plain, and where it is an
 * output as soon as it is known, so that a preview with unknown values passes.
 * @returns the argument, to be used in place of the unchecked one
 * @throws pulumi.ResourceError that names the argument and its value
 */
export function checked<T>(
  component: pulumi.ComponentResource,
  name: string,
  value: pulumi.Input<T>,
  schema: z.ZodType<T>,
): pulumi.Input<T> {
  const check = (plain: T): T => {
    const { error } = schema.safeParse(plain);
    if (error === undefined) return plain;
    const problems = error.issues.map(({ message }) => message).join("; ");
    throw new pulumi.ResourceError(`${name}: ${problems} (got ${JSON.stringify(plain)})`, component, true);
  };
  if (!isEventual(value)) return check(value as T);
  const output = pulumi.output(value) as pulumi.Output<T>;
  return output.apply(check);
}

function isEventual<T>(value: pulumi.Input<T>): value is Promise<T> | pulumi.Output<T> {
  return value instanceof Promise || pulumi.Output.isInstance(value);
}
