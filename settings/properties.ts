import { z } from "zod";
import { variableOf } from "dubbo-node/names";
import { PROBE_PORT } from "./names.ts";

/** Dubbo properties by name, such as `dubbo.application.log-format`. */
export type DubboProperties = Readonly<Record<string, string>>;

/** Returns the Dubbo properties of every application. The values may be outputs. */
export function commonProperties<T>(given: {
  readonly application: T;
  readonly version: T;
  readonly port: T;
}): Record<string, T | number> {
  return {
    "dubbo.application.name": given.application,
    "dubbo.application.version": given.version,
    "dubbo.application.qos-port": PROBE_PORT,
    "dubbo.protocol.port": given.port,
  };
}

/** Returns the references to the gRPC services of each callee. The values may be outputs. */
export function namedReferences<T>(
  callees: readonly { readonly application: T; readonly port: T; readonly services: readonly string[] }[],
): Record<string, T> {
  const places = callees.flatMap(({ application, port, services }) =>
    services.flatMap((service) => [
      [`dubbo.reference.${service}.provided-by`, application] as const,
      [`dubbo.reference.${service}.provider-port`, port] as const,
    ]),
  );
  return Object.fromEntries(places);
}

const NAME = /^dubbo(\.[A-Za-z][\w-]*)+$/;

/**
 * Quotes text for a variable that the JVM splits at spaces. The JVM accepts single and double
 * quotes, but no escape characters.
 */
function quoted(text: string): string {
  if (!/[ '"]/.test(text)) return text;
  return text.replace(/[^"]+|"+/g, (part) => (part.startsWith('"') ? `'${part}'` : `"${part}"`));
}

/**
 * Returns a property as a JVM option for JAVA_TOOL_OPTIONS.
 * Source: HotSpot's arguments.cpp, parse_options_buffer
 */
export function systemProperty(property: string, value: string): string {
  return `-D${property}=${quoted(value)}`;
}

const propertyValue = z
  .union([z.string(), z.number(), z.boolean()], "must be text, a number, true or false")
  .transform(String)
  .refine((text) => !/\p{Cc}/u.test(text), "must be one line without control characters")
  .describe("value of one header");

function duplicateNames(names: readonly string[]): string[] {
  return names.filter((name, index) =>
    names.slice(0, index).some((other) => variableOf(other) === variableOf(name)),
  );
}

/**
 * Returns the schema of the properties that a stack may set.
 * @param taken advice by name of each property that the stack sets itself
 */
export function applicationProperties(
  taken: DubboProperties,
): z.ZodType<Record<string, string>, Record<string, string | number | boolean>> {
  const instead = new Map(Object.entries(taken).map(([name, advice]) => [variableOf(name), advice]));
  return z.record(z.string(), propertyValue).superRefine((properties, context) => {
    const report = (name: string, message: string): void => {
      context.addIssue({ code: "custom", path: [name], message });
    };
    const names = Object.keys(properties);
    for (const name of names) {
      const advice = instead.get(variableOf(name));
      if (!NAME.test(name))
        report(name, "is not the name of a Dubbo property such as dubbo.application.log-format");
      else if (advice !== undefined) report(name, `is set by the stack: ${advice}`);
    }
    for (const name of duplicateNames(names)) report(name, "is set twice, in two spellings: remove one");
  });
}
