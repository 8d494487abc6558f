/** Returns a property name in kebab case. `qosEnable` and `qos-enable` name the same property. */
export function canonicalName(name: string): string {
  return name.replace(/([a-z0-9])([A-Z])/g, "$1-$2").toLowerCase();
}

/**
 * Returns a method's path with the other case of its first letter: `/package.Service/Greet` for
 * `/package.Service/greet`. Dubbo serves both, because callers in other languages use the other
 * one.
 * Source: Dubbo 3.3, DescriptorUtils.findMethodDescriptor
 */
export function otherCase(path: string): string {
  return path.replace(/\/\w(?=\w*$)/, (first) =>
    first === first.toUpperCase() ? first.toLowerCase() : first.toUpperCase(),
  );
}

/**
 * Returns the environment variable of a property: `dubbo.application.qosEnable` becomes
 * DUBBO_APPLICATION_QOS_ENABLE.
 */
export function variableOf(name: string): string {
  return canonicalName(name).replace(/[.-]/g, "_").toUpperCase();
}
