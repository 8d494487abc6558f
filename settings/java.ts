import type { Calls } from "./graph.ts";
import { commonProperties, namedReferences, type Properties, systemProperty } from "./properties.ts";

/** An application on Dubbo's Java SDK, as its runtime is told of it. */
export interface JavaApplication {
  /** Dubbo application name. */
  readonly application: string;
  /** Version of the application. */
  readonly version: string;
  /** Triple port. */
  readonly port: number;
  /** How long its calls in flight may take when it ends, milliseconds. */
  readonly finishMs: number;
  /** What it calls; undefined where it calls nothing. */
  readonly reference?: Calls | undefined;
  /** Further Dubbo properties, over those of the stack. */
  readonly properties: Properties;
}

/** Half of the memory for the heap; what is written goes to the one folder that can be written to. */
const JVM_OPTIONS = ["-XX:MaxRAMPercentage=50", "-Duser.home=/tmp"];

/** Length from which on Java 8 ignores JAVA_TOOL_OPTIONS without a word, bytes. Source: JDK-8288483. */
export const JAVA_8_OPTIONS_BYTES = 1024;

/**
 * A reference as Java reads it. The mesh retries, so Dubbo does not; and the interface is named, since what is set for all references
 * does not win over an annotation. Source: Dubbo's ReferenceConfigBase.java, preProcessRefresh and getPrefixes.
 */
function referenceProperties(reference: Calls): Record<string, string | number> {
  return {
    "dubbo.consumer.timeout": reference.timeoutMs,
    "dubbo.consumer.retries": 0,
    "dubbo.consumer.mesh-enable": "true",
    ...namedReferences<string | number>(reference.callees),
  };
}

/**
 * What the stack sets of an application on Dubbo's Java SDK: its QOS server is closed to the kubelet (QosProtocolWrapper.java) and its
 * health service off (TriBuiltinService.java) unless they are asked for, and its shutdown wait is what ours calls timeout
 * (DubboShutdownHook.java).
 */
export function javaProperties(application: JavaApplication): Record<string, string | number> {
  return {
    ...commonProperties<string | number>(application),
    "dubbo.application.qos-enable": "true",
    "dubbo.application.qos-accept-foreign-ip": "true",
    "dubbo.tri.builtin.service.init": "true",
    "dubbo.service.shutdown.wait": application.finishMs,
    ...(application.reference && referenceProperties(application.reference)),
  };
}

/** What the JVM is told by JAVA_TOOL_OPTIONS: an image that jib has made takes no arguments. */
export function javaToolOptions(application: JavaApplication): string {
  const properties = { ...javaProperties(application), ...application.properties };
  const options = Object.entries(properties).map(([name, value]) => systemProperty(name, String(value)));
  return [...JVM_OPTIONS, ...options].join(" ");
}
