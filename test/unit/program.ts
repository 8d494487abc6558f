import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Declared, runProgram } from "../../tools/engine/program.ts";
import { readStackFile } from "../../stack/stack-file.ts";
import { toYaml } from "../../common/yaml.ts";

/** Runs the complete program under mocks with a stack of this configuration. */
export async function declaredBy(config: Readonly<Record<string, unknown>>): Promise<Declared> {
  const directory = mkdtempSync(join(tmpdir(), "dubbo-mesh-test-"));
  const prefixed = Object.entries(config).map(([key, value]) => [`dubbo-mesh:${key}`, value]);
  writeFileSync(
    join(directory, "Pulumi.test.yaml"),
    toYaml({ config: Object.fromEntries(prefixed) as object }),
  );
  return runProgram(await readStackFile(directory, "test"));
}
