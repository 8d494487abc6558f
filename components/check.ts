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
  if (isOutput(value)) return value.apply(check);
  if (!(value instanceof Promise)) return check(value);
  // Makes an output of the promise: `pulumi.output(value)` loses the type.
  return pulumi.output(undefined).apply(() => value.then(check));
}

function isOutput<T>(value: pulumi.Input<T>): value is pulumi.OutputInstance<T> {
  return pulumi.Output.isInstance(value);
}
