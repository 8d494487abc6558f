import { z } from "zod";
import { unset } from "./unset.ts";

/** A TCP port, 1 to 65535. */
export const portNumber = z.int({ error: unset }).min(1).max(65535);
