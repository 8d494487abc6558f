import { z } from "zod";

/** A TCP port, 1 to 65535. */
export const portNumber = z.int().min(1).max(65535);
