// Command pulumi-resource-kubernetes is Pulumi's Kubernetes plugin, built from its Go module.
package main

import (
	_ "embed"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/version"
)

// The module's schema.json with the plugin's version, which the build puts here.
//
//go:embed schema.json
var schema []byte

func main() {
	provider.Serve("kubernetes", version.Version, schema, []byte("{}"))
}
