import type { Finding } from "../tools/policy.ts";
export const check = (_objects: readonly unknown[]): readonly Finding[] => [];
