import type { Calls } from "./graph.ts";
import { commonProperties, namedReferences, type DubboProperties, systemProperty } from "./properties.ts";

/** Application on Dubbo's Java SDK, as its runtime is configured. */
export interface JavaApplication {
  /** Dubbo application name. */
  readonly application: string;
  /** Version of the application. */
  readonly version: string;
  /** Triple port. */
  readonly port: number;
  /** Time for calls in flight at shutdown, milliseconds. */
  readonly finishMs: number;
  /** Outgoing calls; undefined if there are none. */
  readonly reference?: Calls | undefined;
  /** Further Dubbo properties. They take precedence over those of the stack. */
  readonly properties: DubboProperties;
}

/**
 * Options of the JVM. The heap gets half of the memory. Files go to /tmp, the only writable folder.
 */
const JVM_OPTIONS = ["-XX:MaxRAMPercentage=50", "-Duser.home=/tmp"];

/**
 * Smallest length of JAVA_TOOL_OPTIONS that Java 8 silently ignores, bytes. Source: JDK-8288483.
 */
export const JAVA_8_OPTIONS_BYTES = 1024;

/**
 * Returns the properties of a reference. Dubbo's retries are off, because the mesh retries. Each
 * interface has its own properties: annotations override those of all references.
 * Source: Dubbo's ReferenceConfigBase.java, preProcessRefresh and getPrefixes
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
 * Returns the Dubbo properties that the stack sets.
 * - By default, the QOS server rejects the kubelet's probes (QosProtocolWrapper.java).
 * - By default, the health service is off (TriBuiltinService.java).
 * - The shutdown wait corresponds to dubbo-node's `dubbo.service.shutdown.timeout`
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

/** Returns the text of JAVA_TOOL_OPTIONS. An image that jib builds takes no JVM arguments. */
export function javaToolOptions(application: JavaApplication): string {
  const properties = { ...javaProperties(application), ...application.properties };
  const options = Object.entries(properties).map(([name, value]) => systemProperty(name, String(value)));
  return [...JVM_OPTIONS, ...options].join(" ");
}
