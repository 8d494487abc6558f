import { at, durationSeconds, type Fields, items, number, text, texts } from "./fields.ts";
import type { ManifestMesh, WorkloadManifest } from "./mesh.ts";
import { fault, type Fault, type Rule } from "./rule.ts";

/**
 * Returns the seconds of a Dubbo property from the environment or from JAVA_TOOL_OPTIONS. The
 * property is in milliseconds.
 */
function dubboSeconds(container: Fields, property: string): number {
  const valueOf = (name: string): string | undefined =>
    text(
      at(
        items(container["env"]).find((each) => at(each, "name") === name),
        "value",
      ),
    );
  const own = valueOf(property.toUpperCase().replaceAll(".", "_"));
  const option = new RegExp(`-D${property.replaceAll(".", "\\.")}=(\\d+)`);
  return (number(own ?? option.exec(valueOf("JAVA_TOOL_OPTIONS") ?? "")?.[1]) ?? 0) / 1000;
}

/** Returns the seconds that a preStop hook sleeps. */
function sleepSeconds(container: Fields): number {
  const preStop = at(container, "lifecycle", "preStop");
  const command = texts(at(preStop, "exec", "command")).join(" ");
  return number(at(preStop, "sleep", "seconds")) ?? Number(/\bsleep (\d+)/.exec(command)?.[1] ?? 0);
}

/** Returns the longest time, in seconds, that the application or its proxy takes to end. */
function terminationSeconds({ containers, annotations }: WorkloadManifest): number {
  const applications = containers.map(
    (container) =>
      sleepSeconds(container) +
      dubboSeconds(container, "dubbo.service.shutdown.wait") +
      dubboSeconds(container, "dubbo.service.shutdown.timeout"),
  );
  const config = annotations["proxy.istio.io/config"] ?? "";
  const [, proxy] = /\bMINIMUM_DRAIN_DURATION\W+([\w.]+)/.exec(config) ?? [];
  return Math.max(durationSeconds(proxy) ?? 0, ...applications);
}

function shortGracePeriods(mesh: ManifestMesh): Fault[] {
  return mesh.workloads.flatMap((workload) => {
    const grace = number(workload.pod["terminationGracePeriodSeconds"]) ?? 30;
    const ending = terminationSeconds(workload);
    const message = `is ${grace}, but the pod takes up to ${ending} s to end: the kubelet kills its last calls`;
    const short = ending > 0 && grace <= ending;
    return fault(
      workload.object,
      "spec.template.spec.terminationGracePeriodSeconds",
      short ? message : undefined,
    );
  });
}

/** Rules for the end of pods. */
export const DRAIN_RULES: readonly Rule[] = [
  {
    id: "grace-covers-drain",
    severity: "error",
    text: "A pod has longer to end than Dubbo and its proxy drain.",
    fix: "Raise terminationGracePeriodSeconds above the preStop sleep, Dubbo's shutdown waits and MINIMUM_DRAIN_DURATION.",
    source: "https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/",
    faults: shortGracePeriods,
  },
];
