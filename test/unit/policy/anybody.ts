import { readObjects } from "../../../tools/lint.ts";

/**
 * A mesh of another project: other names, two namespaces, no versions, short hosts, policies of the
 * whole mesh, another DNS suffix.
 */
export const ANYBODY = readObjects(
  `
apiVersion: v1
kind: Namespace
metadata: { name: shop, labels: { istio.io/rev: stable } }
---
apiVersion: v1
kind: Namespace
metadata: { name: pay, labels: { istio.io/rev: stable } }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: all, namespace: istio-system }
spec: { mtls: { mode: STRICT } }
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: { name: all, namespace: istio-system }
spec: { accessLogging: [{ providers: [{ name: envoy }] }] }
---
apiVersion: v1
kind: Service
metadata: { name: ledger, namespace: pay }
spec:
  selector: { role: ledger }
  ports:
    - { name: grpc, appProtocol: grpc, port: 9000, targetPort: 9001 }
    - { name: http-admin, port: 80 }
---
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: ledger, namespace: pay }
spec:
  replicas: 3
  template:
    metadata: { labels: { role: ledger, stateful: "yes" } }
    spec:
      serviceAccountName: ledger
      automountServiceAccountToken: false
      securityContext: { runAsNonRoot: true, seccompProfile: { type: RuntimeDefault } }
      containers:
        - name: ledger
          image: r.test/ledger@sha256:0000
          ports: [{ name: triple, containerPort: 9001 }]
          livenessProbe: { grpc: { port: 9001 } }
          readinessProbe: { grpc: { port: 9001 } }
          startupProbe: { tcpSocket: { port: triple } }
          resources: { requests: { cpu: 1, memory: 1Gi }, limits: { memory: 1Gi } }
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: { drop: [ALL] }
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: { name: ledger, namespace: pay }
spec: { minAvailable: 50%, selector: { matchLabels: { role: ledger } } }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ledger, namespace: pay }
spec:
  hosts: [ledger.pay.svc.mesh.test]
  http:
    - retries: { attempts: 0 }
      route: [{ destination: { host: ledger.pay.svc.mesh.test, port: { number: 9000 } } }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ledger, namespace: pay }
spec:
  selector: { matchLabels: { role: ledger } }
  rules:
    - from: [{ source: { namespaces: [shop] } }]
      to: [{ operation: { ports: ["9001"], paths: ["/pay.*", "*/Check"] } }]
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: till, namespace: shop }
spec:
  template:
    metadata:
      labels: { role: till }
      annotations:
        sidecar.istio.io/statsInclusionRegexps: cluster\\.outbound.*upstream_cx_total
    spec:
      serviceAccountName: till
      automountServiceAccountToken: false
      containers:
        - name: till
          image: r.test/till@sha256:0000
          livenessProbe: { exec: { command: ["true"] } }
          readinessProbe: { exec: { command: ["true"] } }
          startupProbe: { exec: { command: ["true"] } }
          resources: { requests: { cpu: 1, memory: 1Gi }, limits: { memory: 1Gi } }
          securityContext:
            runAsNonRoot: true
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: { drop: [all, ALL] }
            seccompProfile: { type: Localhost }
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: default, namespace: shop }
spec: { egress: [{ hosts: [pay/ledger.pay.svc.mesh.test, istio-system/*] }] }
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: { name: default, namespace: pay }
spec: { egress: [{ hosts: ["~/*"] }] }
---
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: { name: checks, namespace: shop }
spec:
  workloadSelector: { labels: { role: till } }
  configPatches:
    - applyTo: CLUSTER
      match: { cluster: { service: ledger.pay.svc.mesh.test, portNumber: 9000 } }
      patch:
        operation: MERGE
        value:
          ignore_health_on_host_removal: true
          health_checks: [{ timeout: 1s, interval: 1s, healthy_threshold: 1, grpc_health_check: { service_name: pay.Ledger } }]
`,
  "anybody.yaml",
  true,
).flatMap((read) => ("object" in read ? [read.object] : []));
