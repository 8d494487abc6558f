import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { UserError } from "../../../common/errors.ts";
import { toYaml } from "../../../common/yaml.ts";
import { rejectCollision } from "../../../stack/files.ts";
import { readStackFile, rejectUnread } from "../../../stack/stack-file.ts";

/** Creates a project's folder with these stacks. */
function project(files: Readonly<Record<string, string>>): string {
  const directory = mkdtempSync(join(tmpdir(), "dubbo-mesh-test-"));
  for (const [stack, text] of Object.entries(files))
    writeFileSync(join(directory, `Pulumi.${stack}.yaml`), text);
  return directory;
}

async function errorOf(promise: Promise<unknown>): Promise<UserError> {
  const error: unknown = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof UserError) return error;
  throw new Error(`no UserError but ${String(error)}`);
}

const LOCAL = "config:\n  dubbo-mesh:cluster: local\n";

describe("a stack's file", () => {
  it("returns the project's values as text, as Pulumi does", async () => {
    const directory = project({
      other: LOCAL,
      test: `encryptionsalt: v1:salt
config:
  aws:region: nowhere
  dubbo-mesh:cluster: existing
  dubbo-mesh:context: minikube
  dubbo-mesh:registry: r.test/org
  dubbo-mesh:injection: false
  dubbo-mesh:revision:
  dubbo-mesh:drain: ~
  dubbo-mesh:services:
    - app: consumer
      replicas: 3
    - app: provider
      versions: [{ name: v1, weight: 80 }, { name: v2, weight: 20 }]
`,
    });
    const file = await readStackFile(directory, "test");
    expect(file).toMatchObject({ stack: "test", directory, encrypted: [] });
    expect(file).not.toHaveProperty("overridden");
    expect(file.raw).toEqual({
      cluster: "existing",
      context: "minikube",
      registry: "r.test/org",
      injection: "false",
      revision: "",
      drain: "",
      services:
        '[{"app":"consumer","replicas":3},{"app":"provider","versions":[{"name":"v1","weight":80},{"name":"v2","weight":20}]}]',
    });
    expect(file.settings).toMatchObject({
      context: "minikube",
      registry: "r.test/org",
      injection: false,
      services: [
        { app: "consumer", interval: "1s", versions: [{ name: "v1", weight: 100, replicas: 3 }] },
        {
          app: "provider",
          // Detection time of profile seed plus one second, because the drain is not set.
          drainSeconds: 10,
          versions: [
            { name: "v1", weight: 80, replicas: 2 },
            { name: "v2", weight: 20, replicas: 2 },
          ],
        },
      ],
    });
    expect(file.settings.revision).toBeUndefined();
  });

  // Seen with Pulumi 3: `pulumi config` prints both keys with the project's prefix.
  it("may omit the project's prefix, as in Pulumi", async () => {
    const { raw } = await readStackFile(project({ test: "config:\n  cluster: local\n" }), "test");
    expect(raw).toEqual({ cluster: "local" });
    const error = await errorOf(readStackFile(project({ test: "config:\n  clutser: local\n" }), "test"));
    expect(error.message).toBe("dubbo-mesh:clutser: no such key");
  });

  it.each(["", "config:\n", "encryptionsalt: v1:salt\n"])("may be empty: %j", async (text) => {
    const error = await errorOf(readStackFile(project({ test: text }), "test"));
    expect(error.message).toBe(
      "dubbo-mesh:context is not set: the stack does not say which cluster it deploys to",
    );
  });

  it("is an error if it is missing, with the existing stacks", async () => {
    const directory = project({ prod: LOCAL, dev: LOCAL, "dev.canary": LOCAL });
    writeFileSync(join(directory, "Pulumi.yaml"), "name: dubbo-mesh\n");
    const error = await errorOf(readStackFile(directory, "test"));
    expect(error.message).toBe("stack test has no file Pulumi.test.yaml");
    expect(error.fix).toBe("Choose one of the stacks dev, dev.canary, prod (STACK=...), or write that file.");
  });

  it.each([
    [
      "config: [\n",
      "unexpected end of the stream within a flow collection (2:1)\n\n 1 | config: [\n 2 | \n-----^",
    ],
    ["config: [a, b]\n", "✖ Invalid input: expected record, received array\n  → at config"],
    ["local\n", "✖ Invalid input: expected object, received string"],
  ])("is an error if it is broken: %j", async (text, reason) => {
    const error = await errorOf(readStackFile(project({ test: text }), "test"));
    expect(error.message).toBe(`Pulumi.test.yaml cannot be read: ${reason}`);
    expect(error.fix).toBe("Correct the file: it must be YAML with a `config:` map.");
  });

  it.each([
    ["environment: [prod]\n", true],
    ["environment:\n  values: { pulumiConfig: { dubbo-mesh:namespace: n } }\n", true],
    ["environment: []\n", false],
    ["environment:\n", false],
  ])("that imports ESC environments is incomplete: %j", async (text, imports) => {
    const read = readStackFile(project({ test: LOCAL + text }), "test");
    if (!imports) {
      expect((await read).settings.namespace).toBe("dubbo-demo");
      return;
    }
    expect(await errorOf(read)).toEqual(
      new UserError(
        "Pulumi.test.yaml imports Pulumi ESC environments (environment), whose values only Pulumi itself reads",
        "Use plain Pulumi (`pulumi up -s test`), or move the values to config and remove environment.",
      ),
    );
  });

  it.each([
    ["namespace: true", "namespace: is a boolean in YAML, not text: put it in quotes"],
    ["revision: 1.30", "revision: is a number in YAML, not text: put it in quotes"],
    ["context: 2026-01-31", "context: is a date in YAML, not text: put it in quotes"],
    ["registry: [a]", "registry: Invalid input: expected string, received array"],
    ["drain: 5", "drain: must be a duration in seconds such as 5s or 0.25s"],
    ["platform: 64", 'platform: Invalid option: expected one of "linux/amd64"|"linux/arm64"'],
  ])("with %s where text belongs", async (text, message) => {
    const error = await errorOf(readStackFile(project({ test: `config: { ${text} }\n` }), "test"));
    expect(error.message).toBe(`dubbo-mesh:${message}`);
  });

  const replicas = async (number: string): Promise<number | undefined> => {
    const services = `[{ app: provider, replicas: ${number} }, { app: consumer }]`;
    const directory = project({ test: `config: { cluster: local, services: ${services} }\n` });
    return (await readStackFile(directory, "test")).settings.services[0]?.versions[0]?.replicas;
  };

  it.each(["03", "-03", "0_3", "08"])("with the integer %s is an error", async (number) => {
    expect((await errorOf(replicas(number))).message).toBe(
      "dubbo-mesh:services[0].replicas: begins with a zero, so Pulumi reads it as octal: omit the zero, or use quotes",
    );
  });

  it.each([
    ["3", 3],
    ["0x1F", 31],
    ["0o17", 15],
    ["0b11", 3],
    ["1e1", 10],
  ])("reads the number %s as %d", async (number, value) => {
    expect(await replicas(number)).toBe(value);
  });

  it("may repeat parts by aliases and merge keys", async () => {
    const text = `config:
  cluster: local
  services:
    - { app: provider, resources: &r { requests: &q { cpu: 60m } } }
    - { app: consumer, resources: { <<: *r, limits: *q } }
`;
    const { settings } = await readStackFile(project({ test: text }), "test");
    expect(settings.services[1]?.resources).toEqual({
      requests: { cpu: "60m", memory: "96Mi" },
      limits: { cpu: "60m", memory: "256Mi" },
    });
  });

  it("is one error that names each wrong value", async () => {
    const text =
      "config:\n  dubbo-mesh:namespace: Upper\n  dubbo-mesh:services: [{ app: consumer, replicas: -1, colour: red }]\n";
    const error = await errorOf(readStackFile(project({ test: text }), "test"));
    expect(error.message).toBe(
      "dubbo-mesh:namespace: must be a DNS label: lower-case letters, digits and dashes, at most 63; " +
        "dubbo-mesh:services[0].replicas: Too small: expected number to be >=0; dubbo-mesh:services[0].colour: no such key",
    );
  });
});

describe("encrypted values", () => {
  const SECURE = `encryptionsalt: v1:salt
config:
  dubbo-mesh:cluster: local
  dubbo-mesh:namespace:
    secure: v1:abc
  dubbo-mesh:healthCheck:
    grpc_health_check:
      initial_metadata: [{ header: { key: a, value: { secure: v1:def } } }]
`;

  it("are listed by key, at any depth", async () => {
    const file = await readStackFile(project({ test: SECURE }), "test");
    expect(file.encrypted).toEqual(["namespace", "healthCheck"]);
    expect(file.raw).toEqual({ cluster: "local" });
  });

  it("are missing in the settings, which have defaults instead", async () => {
    const { settings, unread } = await readStackFile(project({ test: SECURE }), "test");
    expect(unread).toEqual(["namespace", "healthCheck"]);
    expect(settings.namespace).toBe("dubbo-demo");
    expect(settings.services[0]?.healthCheck).not.toHaveProperty("grpc_health_check.initial_metadata");
  });

  it("are masked in the settings if they are properties of applications", async () => {
    const services = (weight: string): string => `config:
  dubbo-mesh:cluster: local
  dubbo-mesh:services:
    - name: greeter
      port: 50052
      image: r.test/greeter:1
      offers: [org.acme.Greeter]
      properties: { dubbo.owner: { secure: v1:abc } }
      versions: [{ name: v1, weight: ${weight} }, { name: v2, weight: 20 }]
`;
    const file = await readStackFile(project({ test: services("80") }), "test");
    expect(file.settings.services).toMatchObject([
      { name: "greeter", properties: { "dubbo.owner": "[secret]" } },
    ]);
    expect([file.encrypted, file.unread]).toEqual([["services"], []]);
    expect(() => {
      rejectUnread(file);
    }).not.toThrow();

    const others = await readStackFile(project({ test: services("{ secure: v1:abc }") }), "test");
    expect(others.unread).toEqual(["services"]);
    const reject = async (): Promise<void> => {
      await Promise.resolve();
      rejectUnread(others);
    };
    expect(await errorOf(reject())).toMatchObject({
      message: "stack test encrypts services, which only Pulumi can read",
      fix: "Give these keys plain values; only properties of applications (`services[].properties`) may be encrypted.",
    });
  });

  it("do not hide other faults of the stack", async () => {
    const text = `config:
  cluster: local
  services: [{ app: provider, drian: 3s, properties: { dubbo.owner: { secure: v1:abc } } }, { app: consumer }]
`;
    const error = await errorOf(readStackFile(project({ test: text }), "test"));
    expect(error.message).toBe("dubbo-mesh:services[0].drian: no such key");
  });

  it("are replaced by a plain override", async () => {
    const overrides = { namespace: "plain", healthCheck: "" };
    const file = await readStackFile(project({ test: SECURE }), "test", overrides);
    expect(file.encrypted).toEqual([]);
    expect(file.settings.namespace).toBe("plain");
  });
});

describe("overrides", () => {
  const TEXT = `encryptionsalt: v1:salt
secretsprovider: passphrase
config:
  dubbo-mesh:cluster: local
  dubbo-mesh:proxy: { requests: { cpu: 20m } }
  namespace: mesh
  dubbo-mesh:baseImage: { secure: v1:abc }
  aws:region: nowhere
`;
  const OVERRIDES = { cluster: "existing", context: "minikube", registry: "r.test/org" };

  it("are in the content; the file does not change", async () => {
    const directory = project({ test: TEXT });
    const file = await readStackFile(directory, "test", OVERRIDES);
    expect(file.overridden).toEqual({
      encryptionsalt: "v1:salt",
      secretsprovider: "passphrase",
      config: {
        "dubbo-mesh:cluster": "existing",
        "dubbo-mesh:proxy": { requests: { cpu: "20m" } },
        "dubbo-mesh:namespace": "mesh",
        "dubbo-mesh:baseImage": { secure: "v1:abc" },
        "aws:region": "nowhere",
        "dubbo-mesh:context": "minikube",
        "dubbo-mesh:registry": "r.test/org",
      },
    });
    expect(readFileSync(join(directory, "Pulumi.test.yaml"), "utf8")).toBe(TEXT);
  });

  it("are in the settings and in the content", async () => {
    const file = await readStackFile(project({ test: TEXT }), "test", OVERRIDES);
    expect(file.settings).toMatchObject({
      cluster: "existing",
      context: "minikube",
      registry: "r.test/org",
      namespace: "mesh",
      proxy: { requests: { cpu: "20m" } },
    });
    const copy = await readStackFile(project({ test: toYaml(file.overridden ?? {}) }), "test");
    expect(copy.settings).toEqual(file.settings);
    expect(copy.raw).toEqual(file.raw);
    expect(copy.encrypted).toEqual(file.encrypted);
  });

  it("are checked like the file's values", async () => {
    const error = await errorOf(
      readStackFile(project({ test: LOCAL }), "test", {
        cluster: "existing",
        context: "x",
        registry: "no way",
      }),
    );
    expect(error.message).toBe("dubbo-mesh:registry: must be host[:port][/organisation], in lower case");
  });
});

describe("the project's stacks", () => {
  it("are valid, and have different namespaces", async () => {
    const root = join(import.meta.dirname, "../../..");
    const places = await Promise.all(
      ["canary", "dev"].map(async (stack) => {
        const { settings } = await readStackFile(root, stack);
        return `${settings.context}/${settings.namespace}`;
      }),
    );
    expect(places).toEqual(["kind-dubbo-mesh/dubbo-canary", "kind-dubbo-mesh/dubbo-demo"]);
  });
});

describe("a stack in another stack's place", () => {
  it("is an error with the other's name, even if a third file is invalid", async () => {
    const directory = project({
      a: LOCAL,
      b: `${LOCAL}  dubbo-mesh:namespace: dubbo-demo\n`,
      c: `${LOCAL}  dubbo-mesh:namespace: other\n`,
      d: "config:\n  dubbo-mesh:context: dubbo-mesh\n  dubbo-mesh:registry: r.test/org\n",
      e: "config:\n  dubbo-mesh:nonsense: 1\n",
    });
    expect(await errorOf(rejectCollision(await readStackFile(directory, "a")))).toEqual(
      new UserError(
        "stacks a and b both deploy to namespace dubbo-demo of kind-dubbo-mesh",
        "Give one of them another namespace: dubbo-mesh:namespace in Pulumi.a.yaml.",
      ),
    );
    for (const stack of ["c", "d"])
      await expect(rejectCollision(await readStackFile(directory, stack))).resolves.toBeUndefined();
  });

  it("is an error if an override causes it", async () => {
    const given = (context: string): string =>
      `config:\n  dubbo-mesh:context: ${context}\n  dubbo-mesh:registry: r.test/org\n`;
    const directory = project({ a: given("one"), b: given("two") });
    await expect(rejectCollision(await readStackFile(directory, "a"))).resolves.toBeUndefined();
    const sent = await readStackFile(directory, "a", { context: "two" });
    expect((await errorOf(rejectCollision(sent))).message).toBe(
      "stacks a and b both deploy to namespace dubbo-demo of two",
    );
  });
});
