package api

import (
	"context"
	"net/http"

	"github.com/ipdc/ipdc/jobspec"
)

// AllTenants, as the tenant of a list of jobs, selects those of all. No other
// endpoint takes it.
const AllTenants = "*"

// tenantParam is the query parameter of every endpoint about jobs by which the
// node's own user sees to another tenant's.
const tenantParam = "tenant"

const tenantDoc = "Whose jobs, for the node's own user only; default the caller's"

// actFor puts the tenant that the query names in the caller's place.
func actFor(r *http.Request) (*http.Request, error) {
	tenant := r.URL.Query().Get(tenantParam)
	who := callerOf(r.Context())
	switch {
	case tenant == "" || tenant == who.tenant:
		return r, nil
	case who.tenant != TenantLocal:
		return r, jobspec.Failure{
			Kind: jobspec.KindPolicy, Where: "query." + tenantParam, Detail: "only the node's own user sees jobs of others",
			Hint: "leave the parameter out, or use the node's unix socket",
		}.Error()
	case tenant != AllTenants && !namesTenant(tenant):
		return r, badQuery(tenantParam, "the name of a token, member:ID, or node:ID")
	case tenant == AllTenants && (r.Method != http.MethodGet || r.URL.Path != "/v1/jobs"):
		return r, jobspec.Failure{
			Kind: jobspec.KindSpec, Where: "query." + tenantParam, Detail: "only the list of jobs takes all tenants at once",
			Hint: "name one: ipdc job ls --all-tenants shows whose jobs there are",
		}.Error()
	}
	who.tenant = tenant
	return r.WithContext(context.WithValue(r.Context(), callerKey{}, who)), nil
}
