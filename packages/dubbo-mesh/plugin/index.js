// Serves the component to the engine, which runs this folder as PulumiPlugin.yaml says.
import { main } from "@pulumi/pulumi/provider/index.js";
import { MeshProvider } from "../dist/provider.js";

void main(new MeshProvider(), process.argv.slice(2));
