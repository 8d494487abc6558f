/** Name of the application's container in every pod; the sidecar's is `istio-proxy`. */
export const APPLICATION_CONTAINER = "app";
