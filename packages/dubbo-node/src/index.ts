// Public API of dubbo-node.
export { DubboApplication, type ApplicationOptions } from "./application.ts";
export type { AttachmentsInit } from "./attachments.ts";
export type { Call } from "./call.ts";
export { type Attachment, type Attachments, RpcError, SettingsError } from "./error.ts";
export type { Logger } from "./logger.ts";
export type { LivenessCheck } from "./qos.ts";
export type { CallOptions, DubboReference } from "./reference.ts";
export { run } from "./run.ts";
export { dubboService, type DubboService, type Handlers } from "./service.ts";
export { type Status, status } from "./status.ts";
export { applicationSettings, milliseconds, referenceSettings } from "./settings.ts";
