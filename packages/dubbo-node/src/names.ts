/** A property's name in the one form that all spellings share: `qosEnable` and `qos-enable` are the same. */
export function canonicalName(name: string): string {
  return name.replace(/([a-z0-9])([A-Z])/g, "$1-$2").toLowerCase();
}

/** The environment variable that stands for a property: `dubbo.application.qosEnable` is DUBBO_APPLICATION_QOS_ENABLE. */
export function variableOf(name: string): string {
  return canonicalName(name).replace(/[.-]/g, "_").toUpperCase();
}
