/** Rooms of the program, and the rooms that each may import beside common/. Data flows from settings to components. */
const ROOMS = {
  common: [],
  policy: ["settings"],
  settings: ["apps"],
  components: ["settings", "apps"],
  stack: ["settings", "components", "apps"],
  apps: [],
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
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "^test/" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
  },
};
