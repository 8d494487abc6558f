/** The component that builds an image; it alone needs `@pulumi/docker`. */
export { ApplicationImage, type ApplicationImageArgs } from "../../components/image.ts";
