/** Returns a property name in kebab case. `qosEnable` and `qos-enable` name the same property. */
export function canonicalName(name: string): string {
  return name.replace(/([a-z0-9])([A-Z])/g, "$1-$2").toLowerCase();
}

/**
 * Returns the environment variable of a property: `dubbo.application.qosEnable` becomes
 * DUBBO_APPLICATION_QOS_ENABLE.
 */
export function variableOf(name: string): string {
  return canonicalName(name).replace(/[.-]/g, "_").toUpperCase();
}
