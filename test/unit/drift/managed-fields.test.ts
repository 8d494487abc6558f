import { describe, expect, it } from "vitest";
import { foreignFields, type ManagedFields, pathsOf, placeOf } from "../../../tools/drift/managed-fields.ts";
import { restoringPatch } from "../../../tools/drift/mend.ts";

const APP = 'k:{"name":"app"}';
const DEBUG = 'k:{"name":"DEBUG"}';

describe("the fields of a manager", () => {
  it("are the leaves of its tree, and the nodes that it owns themselves", () => {
    const tree = {
      "f:metadata": { "f:finalizers": { ".": {}, 'v:"a/b"': {} } },
      "f:spec": { "f:containers": { [APP]: { ".": {}, "f:name": {} } }, "f:args": { "i:1": {} } },
    };
    expect(pathsOf(tree)).toEqual([
      ["f:metadata", "f:finalizers"],
      ["f:metadata", "f:finalizers", 'v:"a/b"'],
      ["f:spec", "f:containers", APP],
      ["f:spec", "f:containers", APP, "f:name"],
      ["f:spec", "f:args", "i:1"],
    ]);
    expect(pathsOf({})).toEqual([]);
  });
});

describe("the place of a field", () => {
  const object = {
    metadata: { annotations: { "a/b": "c" }, finalizers: ["x", "a/b"] },
    spec: {
      containers: [{ name: "proxy" }, { name: "app", env: [{ name: "DEBUG", value: "1" }] }],
      ports: [{ containerPort: 80, protocol: "UDP" }, { containerPort: 80 }],
    },
  };

  it.each([
    [["f:metadata", "f:annotations", "f:a/b"], ["metadata", "annotations", "a/b"], "c"],
    [["f:metadata", "f:finalizers", 'v:"a/b"'], ["metadata", "finalizers", 1], "a/b"],
    [["f:metadata", "f:finalizers", "i:0"], ["metadata", "finalizers", 0], "x"],
    [
      ["f:spec", "f:containers", APP, "f:env", DEBUG],
      ["spec", "containers", 1, "env", 0],
      { name: "DEBUG", value: "1" },
    ],
    // The API server owns its default of a key; a declared element need not have it.
    [
      ["f:spec", "f:ports", 'k:{"containerPort":80,"protocol":"TCP"}'],
      ["spec", "ports", 1],
      { containerPort: 80 },
    ],
    [
      ["f:spec", "f:containers", 'k:{"name":"gone"}', "f:image"],
      ["spec", "containers", "name=gone", "image"],
      undefined,
    ],
    [["f:metadata", "f:finalizers", 'v:"gone"'], ["metadata", "finalizers", '"gone"'], undefined],
    [["f:status", "f:replicas"], ["status", "replicas"], undefined],
  ])("is a path of names and indexes: %j", (path, place, value) => {
    expect(placeOf(object, path)).toEqual({ path: place, value });
  });
});

describe("the fields of others", () => {
  const owner = (manager: string, fieldsV1: ManagedFields["fieldsV1"]): ManagedFields => ({
    manager,
    operation: "Update",
    fieldsV1,
  });
  const found = (...owners: ManagedFields[]): unknown =>
    foreignFields(owners, ({ owner: { manager } }) => manager === "own").map(
      ({ owner: { manager }, path }) => [manager, path.join(" ")],
    );

  it("are the outermost ones, where nothing below is kept", () => {
    const own = owner("own", { "f:spec": { "f:host": {} } });
    const tls = { "f:tls": { ".": {}, "f:mode": {} } };
    expect(
      found(own, owner("kubectl-patch", { "f:spec": { "f:trafficPolicy": { ".": {}, ...tls } } })),
    ).toEqual([["kubectl-patch", "f:spec f:trafficPolicy"]]);
    const more = owner("own", { "f:spec": { "f:trafficPolicy": { "f:loadBalancer": {} } } });
    expect(
      found(more, owner("kubectl-patch", { "f:spec": { "f:trafficPolicy": { ".": {}, ...tls } } })),
    ).toEqual([["kubectl-patch", "f:spec f:trafficPolicy f:tls"]]);
  });

  it("are not those that the stack owns, too", () => {
    const fields = { "f:spec": { "f:replicas": {} } };
    expect(found(owner("own", fields), owner("kubectl", fields))).toEqual([]);
  });

  it("are told for each of them", () => {
    const fields = { "f:metadata": { "f:labels": { "f:a": {} } } };
    expect(found(owner("kubectl-label", fields), owner("helm", fields))).toEqual([
      ["kubectl-label", "f:metadata f:labels f:a"],
      ["helm", "f:metadata f:labels f:a"],
    ]);
  });
});

describe("a patch that restores fields", () => {
  it("checks the elements of lists, and removes the last one first", () => {
    const env = (name: string, index: number): Parameters<typeof restoringPatch>[0][number] => ({
      path: ["f:containers", APP, "f:env", `k:{"name":"${name}"}`],
      place: ["containers", 0, "env", index],
    });
    expect(restoringPatch([env("B", 9), env("C", 10)])).toEqual([
      { op: "test", path: "/containers/0/name", value: "app" },
      { op: "test", path: "/containers/0/env/9/name", value: "B" },
      { op: "test", path: "/containers/0/env/10/name", value: "C" },
      { op: "remove", path: "/containers/0/env/10" },
      { op: "remove", path: "/containers/0/env/9" },
    ]);
  });

  it("sets the declared value of a field that has one", () => {
    const field = { path: ["f:spec", "f:http"], place: ["spec", "http"], declared: [{ route: [] }] };
    expect(restoringPatch([field])).toEqual([{ op: "replace", path: "/spec/http", value: [{ route: [] }] }]);
  });

  it("escapes names, checks plain elements, and removes a field once, with all that is below it", () => {
    const labels = { path: ["f:metadata", "f:labels"], place: ["metadata", "labels"] };
    const label = { path: ["f:metadata", "f:labels", "f:a/b~c"], place: ["metadata", "labels", "a/b~c"] };
    const finalizer = {
      path: ["f:metadata", "f:finalizers", 'v:"x"'],
      place: ["metadata", "finalizers", 2],
    };
    expect(restoringPatch([label, label])).toEqual([{ op: "remove", path: "/metadata/labels/a~1b~0c" }]);
    expect(restoringPatch([label, labels, finalizer])).toEqual([
      { op: "test", path: "/metadata/finalizers/2", value: "x" },
      { op: "remove", path: "/metadata/labels" },
      { op: "remove", path: "/metadata/finalizers/2" },
    ]);
  });
});
