/** Fields of a stack's objects that other managers set by right. */
import { MANAGED_BY } from "../../stack/checks.ts";
import { type FieldPath, isWithin } from "./managed-fields.ts";

interface Right {
  /** Kind of the objects. Default: all kinds. */
  readonly kind?: string;
  readonly path: FieldPath;
}

function field(...names: readonly string[]): FieldPath {
  return names.map((name) => `f:${name}`);
}

const RIGHTS: readonly Right[] = [
  // Written by controllers. Source: Kubernetes' API conventions, spec and status
  { path: field("status") },
  // Written by the Deployment controller. Source: Kubernetes'
  // pkg/controller/deployment/util/deployment_util.go, RevisionAnnotation
  { kind: "Deployment", path: field("metadata", "annotations", "deployment.kubernetes.io/revision") },
  // Written by `kubectl rollout restart`, which changes no setting of the pods. Source: kubectl's
  // pkg/polymorphichelpers/objectrestarter.go
  {
    kind: "Deployment",
    path: field("spec", "template", "metadata", "annotations", "kubectl.kubernetes.io/restartedAt"),
  },
  // Written by controllers that clean up at a deletion. Source:
  // https://kubernetes.io/docs/concepts/architecture/garbage-collection/
  { path: field("metadata", "finalizers") },
  { path: field("metadata", "ownerReferences") },
  // Written by the API server, but owned by whoever creates the namespace by hand. Source:
  // https://kubernetes.io/docs/reference/labels-annotations-taints/#kubernetes-io-metadata-name
  { kind: "Namespace", path: field("metadata", "labels", "kubernetes.io/metadata.name") },
  // Lets a stack take over a namespace. Source: stack/checks.ts
  { kind: "Namespace", path: field("metadata", "labels", MANAGED_BY) },
];

const REPLICAS = field("spec", "replicas");

/**
 * Reports whether other managers set a field by right.
 * @param autoscaled true if the stack declares an autoscaler for the object
 */
export function isByRight(kind: string, path: FieldPath, autoscaled: boolean): boolean {
  if (autoscaled && isWithin(path, REPLICAS)) return true;
  return RIGHTS.some((right) => (right.kind ?? kind) === kind && isWithin(path, right.path));
}
