import * as z from "zod";

/** A setting that is wrong or cannot be used: the message names its variable, and the application ends with it. */
export class SettingsError extends Error {
  override name = "SettingsError";
}

/**
 * A whole number in an environment variable.
 * @param least smallest value
 * @param most largest value
 */
export function whole(least: number, most: number): z.ZodPipe<z.ZodString, z.ZodTransform<number, string>> {
  const error = `must be a whole number from ${least} to ${most}`;
  return z
    .string()
    .refine((text) => /^\d{1,10}$/.test(text) && Number(text) >= least && Number(text) <= most, { error })
    .transform(Number);
}

/** A time in milliseconds, up to a day. */
export function milliseconds(least: number): ReturnType<typeof whole> {
  return whole(least, 86_400_000);
}

/** A TCP port. */
export const port = whole(1, 65_535);

/** A name or a domain as DNS takes it: labels of lower-case letters, digits and dashes, with dots between them. */
export const dnsName = z
  .string()
  .regex(
    /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$/,
    "must be a DNS name: lower-case letters, digits, dashes and dots",
  );

// It travels in the header tri-consumer-appname, so visible ASCII only.
const applicationName = z
  .string()
  .regex(/^[\x21-\x7e]{1,200}$/, "must be 1 to 200 visible ASCII characters without spaces");

/**
 * The settings of every Dubbo application: Dubbo's own property names in upper case, with `_` for `.` and `-`.
 * @param protocolPort default of DUBBO_PROTOCOL_PORT
 */
export function applicationSettings(protocolPort: number) {
  return z.object({
    /** Dubbo application name. */
    DUBBO_APPLICATION_NAME: applicationName,
    /** Port of the Triple server. */
    DUBBO_PROTOCOL_PORT: port.default(protocolPort),
    /** Port of the probes. */
    DUBBO_APPLICATION_QOS_PORT: port.default(22_222),
    /** Time from NOT_SERVING to GOAWAY when the application ends, milliseconds; Dubbo's default. */
    DUBBO_SERVICE_SHUTDOWN_WAIT: milliseconds(0).default(10_000),
  });
}

/**
 * Reads an application's settings.
 * @param schema an object whose keys are names of variables
 * @param environment the variables, for example `process.env`
 * @throws SettingsError that names each variable that is wrong
 */
export function readSettings<S extends z.ZodObject>(
  schema: S,
  environment: Readonly<Record<string, string | undefined>>,
): z.infer<S> {
  const parsed = schema.safeParse(environment);
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.map(({ path, message }) => {
    const name = String(path[0]);
    const value = environment[name];
    return value === undefined ? `${name} is not set` : `${name} is ${JSON.stringify(value)}: ${message}`;
  });
  throw new SettingsError(problems.join("; "));
}
