/** Component that builds an image. Only this entry needs `@pulumi/docker`. */
export { ApplicationImage, type ApplicationImageArgs } from "../../components/image.ts";
