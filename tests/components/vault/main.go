// Command vault is Vault's own server without the plugins and storage backends that the tests do not use: their cloud
// SDKs take half of the time to compile it. Vault's build tag `minimal` leaves them out, and with them Kubernetes
// authentication and file storage, which are added here.
package main

import (
	"fmt"
	"os"

	"github.com/hashicorp/cli"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	"github.com/hashicorp/vault/audit"
	vaultaws "github.com/hashicorp/vault/builtin/credential/aws"
	"github.com/hashicorp/vault/builtin/plugin"
	"github.com/hashicorp/vault/command"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
)

func main() {
	if len(os.Args) < 2 || os.Args[1] != "server" {
		fmt.Fprintln(os.Stderr, "usage: vault server -config FILE")
		os.Exit(2)
	}
	server := &command.ServerCommand{
		BaseCommand: &command.BaseCommand{UI: &cli.BasicUi{Writer: os.Stdout, ErrorWriter: os.Stderr}},
		AuditBackends: map[string]audit.Factory{
			"file": audit.NewFileBackend,
		},
		CredentialBackends: map[string]logical.Factory{
			"aws":        vaultaws.Factory,
			"kubernetes": kubernetes.Factory,
			"plugin":     plugin.Factory,
		},
		LogicalBackends: map[string]logical.Factory{
			"plugin": plugin.Factory,
		},
		PhysicalBackends: map[string]physical.Factory{
			"file": file.NewFileBackend,
		},
		ShutdownCh: command.MakeShutdownCh(),
		SighupCh:   command.MakeSighupCh(),
		SigUSR2Ch:  command.MakeSigUSR2Ch(),
	}
	os.Exit(server.Run(os.Args[2:]))
}
