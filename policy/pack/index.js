// Pulumi requires the pack as CommonJS and passes no flags to Node.js: tsx is registered here in place of --import=tsx.
module.exports = async () => {
  const { register } = await import("tsx/esm/api");
  register();
  const { servePolicyPack } = await import("../crossguard.ts");
  servePolicyPack();
};
