/** Library of components: one for a whole mesh, and one for each of its parts. */
export { DubboMesh, type DubboMeshArgs } from "../../components/mesh.ts";
export { type MeshArgs, meshOf, type ServiceArgs } from "../../components/mesh-args.ts";
export type { MeshModel } from "../../settings/model.ts";

export { MeshDashboard, type MeshDashboardArgs } from "../../components/dashboard.ts";
export { ActiveHealthCheck, type ActiveHealthCheckArgs } from "../../components/health-check.ts";
export { IstioControlPlane, type IstioControlPlaneArgs } from "../../components/istio.ts";
export { MeshNamespace, type MeshNamespaceArgs } from "../../components/namespace.ts";
export { MeshNetworkPolicy, type MeshNetworkPolicyArgs } from "../../components/network-policy.ts";
export { MeshSecurity, type MeshSecurityArgs } from "../../components/security.ts";
export { DubboService, type DubboServiceArgs } from "../../components/service.ts";
export { SidecarScope, type SidecarScopeArgs } from "../../components/sidecar-scope.ts";
export {
  ProviderRoutes,
  ProviderSubset,
  type ProviderSubsetArgs,
  ProviderTraffic,
  type ProviderTrafficArgs,
} from "../../components/traffic.ts";
