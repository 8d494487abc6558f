import { describe, expect, it } from "vitest";
import { withWeights } from "../../../stack/weights.ts";
import { userError } from "../tools/user-error.ts";

const SERVICE = { name: "greeter", index: 1 };

function changed(text: string, weights: Record<string, number> = { v1: 75, v2: 25 }): string {
  return withWeights(text, "Pulumi.prod.yaml", SERVICE, weights);
}

/** Returns the lines that a change adds and removes. */
function difference(before: string, after: string): string[] {
  const [old, now] = [before.split("\n"), after.split("\n")];
  return [
    ...old.filter((line) => !now.includes(line)).map((line) => `-${line}`),
    ...now.filter((line) => !old.includes(line)).map((line) => `+${line}`),
  ];
}

const FLOW = `# Production
config:
    dubbo-mesh:services:   # callers first
    - {app: consumer}
    - app: provider   # "greeter"
      versions:
      # The next version comes as v2.
      - {  name: v1, replicas: 2,  weight: 100 } # since May
      - { name: 'v2', weight:   0, replicas: 2 }

      drain: 5s
    dubbo-mesh:context: x
encryptionsalt: v1:abc
`;

describe("weights in a stack file", () => {
  it("change nothing else: comments, order, spaces and quotes stay", () => {
    expect(difference(FLOW, changed(FLOW))).toEqual([
      "-      - {  name: v1, replicas: 2,  weight: 100 } # since May",
      "-      - { name: 'v2', weight:   0, replicas: 2 }",
      "+      - {  name: v1, replicas: 2,  weight: 75 } # since May",
      "+      - { name: 'v2', weight:   25, replicas: 2 }",
    ]);
  });

  it.each(["\n", "\r\n"])(
    "are added to versions without one, with the line breaks of the file",
    (lineBreak) => {
      const text = [
        "config:",
        "  services:",
        "    - app: consumer",
        "    - app: provider",
        "      versions:",
        "        - name: v1 # stable",
        "          replicas: 2",
        "        - replicas: 1",
        "          name: v2",
        "        - { name: v3 }",
        "",
      ].join(lineBreak);
      expect(changed(text, { v1: 70, v2: 20, v3: 10 }).split(lineBreak)).toEqual([
        "config:",
        "  services:",
        "    - app: consumer",
        "    - app: provider",
        "      versions:",
        "        - name: v1 # stable",
        "          weight: 70",
        "          replicas: 2",
        "        - replicas: 1",
        "          name: v2",
        "          weight: 20",
        "        - { name: v3, weight: 10 }",
        "",
      ]);
    },
  );

  it("are written beside any number of aliases", () => {
    const aliases = Array.from({ length: 200 }, () => "*a").join(", ");
    const text = `x: &a [1]\ny: [${aliases}]\n${FLOW}`;
    expect(changed(text)).toContain("{  name: v1, replicas: 2,  weight: 75 }");
  });

  it("are the same text if they are the same weights", () => {
    expect(changed(FLOW, { v1: 100, v2: 0 })).toBe(FLOW);
  });

  it.each([
    ["no versions", "config: { services: [{}, { app: provider }] }"],
    ["another version", "config: { services: [{}, { versions: [{ name: v1 }, { name: v3 }] }] }"],
    [
      "a third version",
      "config: { services: [{}, { versions: [{ name: v1 }, { name: v2 }, { name: v3 }] }] }",
    ],
    ["services as text", `config: { services: '[{}, { versions: [{ name: v1 }, { name: v2 }] }]' }`],
    [
      "an alias of a version",
      "config:\n  services:\n    - versions: [&a { name: v1, weight: 50 }]\n    - versions: [*a, { name: v2, weight: 50 }]\n",
    ],
    [
      "versions that another service also has",
      "config:\n  services:\n    - &a { versions: [{ name: v1, weight: 50 }, { name: v2, weight: 50 }] }\n    - *a\n",
    ],
    [
      "an anchor that another service uses",
      "config:\n  services:\n    - {}\n    - versions: &a [{ name: v1, weight: 50 }, { name: v2, weight: 50 }]\n    - versions: *a\n",
    ],
  ])("are not written to a file with %s", async (_what, text) => {
    expect(await userError(Promise.resolve(text).then((given) => changed(given)))).toEqual({
      message:
        "the weights of greeter cannot be written to Pulumi.prod.yaml: its versions are not plain YAML maps, or use anchors",
      fix: "List each version as a map, without anchors, aliases or JSON text. Or use WRITE=0, and edit the weights by hand.",
    });
  });
});
