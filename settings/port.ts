import { z } from "zod";
import { missingKeyError } from "./missing-key.ts";

/** A TCP port, 1 to 65535. */
export const portNumber = z.int({ error: missingKeyError }).min(1).max(65535);
