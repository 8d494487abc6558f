// Pulumi requires the pack as CommonJS; the rules are ES modules, which this loads.
module.exports = async () => {
  const { servePolicyPack } = await import("../crossguard.ts");
  servePolicyPack();
};
