#!/bin/sh
# Sets up a development Vault for the manifests in this folder. Start it with
# `vault server -dev -dev-root-token-id=root`, and set VAULT_ADDR and VAULT_TOKEN.
set -e
vault audit enable file file_path=/tmp/vault-audit.log || true
vault secrets enable pki && vault secrets tune -max-lease-ttl=87600h pki
vault write pki/root/generate/internal common_name=Root ttl=87600h key_type=ec key_bits=256
vault write pki/roles/web allow_any_name=true enforce_hostnames=false key_type=any require_cn=false allowed_uri_sans='*' allowed_other_sans='*' max_ttl=2160h
vault write pki/roles/params allow_any_name=true enforce_hostnames=false key_type=any require_cn=false allowed_uri_sans='*' use_csr_sans=false use_csr_common_name=false max_ttl=2160h
vault write pki/roles/leased allow_any_name=true key_type=any require_cn=false generate_lease=true max_ttl=2160h
vault write pki/roles/notafter allow_any_name=true key_type=any not_after=2027-12-31T00:00:00Z
vault secrets enable -path=p224 pki
vault write p224/root/generate/internal common_name="P-224 Root" key_type=ec key_bits=224 ttl=700h
vault write p224/roles/web allow_any_name=true key_type=any require_cn=false max_ttl=600h
vault policy write pki - <<'P'
path "pki/sign/*" { capabilities = ["update"] }
path "pki/sign-verbatim" { capabilities = ["update"] }
path "pki/root/sign-intermediate" { capabilities = ["update"] }
path "p224/sign/*" { capabilities = ["update"] }
P
vault policy write required - <<'P'
path "pki/sign/web" {
  capabilities = ["update"]
  required_parameters = ["csr", "common_name"]
}
P
vault policy write allowed - <<'P'
path "pki/sign/web" {
  capabilities = ["update"]
  allowed_parameters = { "csr" = [] "common_name" = [] "alt_names" = [] "ip_sans" = [] "uri_sans" = [] "ttl" = [] "exclude_cn_from_sans" = [] }
}
P
vault auth enable approle
for r in pki required allowed; do vault write auth/approle/role/$r token_policies=$r token_ttl=20m token_max_ttl=30m; done
# The first example of the AppRole documentation, without secret_id_ttl.
vault write auth/approle/role/docs token_policies=pki token_num_uses=10 token_ttl=20m token_max_ttl=30m secret_id_num_uses=40
vault write auth/approle/role/nosecret token_policies=pki bind_secret_id=false token_bound_cidrs=127.0.0.0/8
