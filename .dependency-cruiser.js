const SDK = "packages/dubbo-node/src";

/**
 * Folders of the program, and the folders that each may import beside common/. Data flows from
 * settings to components.
 */
const ROOMS = {
  common: [],
  policy: ["settings"],
  settings: [SDK],
  components: ["settings", SDK],
  stack: ["settings", "components", "apps"],
  apps: [SDK],
};

const room = ([name, others]) => ({
  name: `${name}-imports-only-what-it-may`,
  severity: "error",
  from: { path: `^${name}/` },
  to: {
    dependencyTypes: ["local"],
    pathNot: [name, "common", ...others].map((each) => `^${each}/`),
  },
});

export default {
  forbidden: [
    { name: "no-circle-of-files", severity: "error", from: {}, to: { circular: true } },
    { name: "no-circle-of-folders", severity: "error", scope: "folder", from: {}, to: { circular: true } },
    ...Object.entries(ROOMS).map(room),
    {
      name: "dubbo-node-is-a-package-of-its-own",
      severity: "error",
      from: { path: `^${SDK}/` },
      to: { dependencyTypes: ["local"], pathNot: `^${SDK}/` },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "^(test|packages/[^/]+/(test|interop))/" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { exportsFields: ["exports"], conditionNames: ["import", "node", "default"] },
  },
};
