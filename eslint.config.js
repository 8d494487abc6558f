import tseslint from "typescript-eslint";

export default tseslint.config(
  {
    ignores: [
      "node_modules/",
      "apps/dist/",
      "packages/*/dist/",
      "packages/dubbo-mesh/examples/",
      "apps/gen/",
      "components/generated/",
      "packages/dubbo-node/src/gen/",
      "coverage/",
    ],
  },
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: "error", noInlineConfig: true },
    rules: {
      "max-lines-per-function": ["error", { max: 60, skipBlankLines: true, skipComments: true }],
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
    },
  },
  // A describe block is a list of tests, not one long function.
  {
    files: ["{test,packages/*/test,packages/*/interop}/**/*.ts"],
    rules: { "max-lines-per-function": "off" },
  },
);
