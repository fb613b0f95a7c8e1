-- The peer's tables. The application's role owns none of them, so that row-level security holds for it.
CREATE TABLE tenants (
  id uuid PRIMARY KEY, status text NOT NULL, max_agents bigint NOT NULL,
  requests_per_minute integer NOT NULL, agents_per_minute integer NOT NULL);
CREATE TABLE users (
  tenant_id uuid NOT NULL REFERENCES tenants, id uuid NOT NULL, subject text NOT NULL, role text NOT NULL,
  status text NOT NULL, PRIMARY KEY (tenant_id, subject));
CREATE TABLE elements (tenant_id uuid NOT NULL, id uuid NOT NULL, PRIMARY KEY (tenant_id, id));
CREATE TABLE agents (
  tenant_id uuid NOT NULL, id uuid NOT NULL, revision bigint NOT NULL, name text NOT NULL, description text NOT NULL,
  pattern text NOT NULL, provider text NOT NULL, model text NOT NULL, instructions text NOT NULL, tools jsonb NOT NULL,
  config jsonb NOT NULL, element_id uuid, status text NOT NULL, created_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL, created_by uuid NOT NULL, updated_by uuid NOT NULL, PRIMARY KEY (tenant_id, id));
CREATE INDEX agents_by_time ON agents (tenant_id, created_at, id);
CREATE TABLE counters (
  tenant_id uuid NOT NULL, name text NOT NULL, value bigint NOT NULL, PRIMARY KEY (tenant_id, name))
  WITH (fillfactor = 50);
CREATE TABLE audit (
  tenant_id uuid NOT NULL, id uuid NOT NULL, created_at timestamptz NOT NULL, user_id uuid NOT NULL, action text NOT NULL,
  resource_type text NOT NULL, resource_id uuid NOT NULL, revision bigint NOT NULL, old_value jsonb, new_value jsonb,
  ip_address text NOT NULL, user_agent text NOT NULL, request_id text NOT NULL, PRIMARY KEY (tenant_id, id));
CREATE INDEX audit_by_time ON audit (tenant_id, created_at, id);
CREATE TABLE usage_events (
  tenant_id uuid NOT NULL, id uuid NOT NULL, at timestamptz NOT NULL, metric text NOT NULL, value bigint NOT NULL,
  data jsonb NOT NULL, PRIMARY KEY (tenant_id, id));
CREATE INDEX usage_events_by_time ON usage_events (tenant_id, metric, at);

CREATE ROLE app LOGIN;
GRANT SELECT ON tenants, users, elements TO app;
GRANT SELECT, INSERT, UPDATE, DELETE ON agents, counters, audit, usage_events TO app;

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['users', 'elements', 'agents', 'counters', 'audit', 'usage_events'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY own ON %I USING (tenant_id = current_setting(''app.tenant_id'')::uuid)', name);
  END LOOP;
END $$;
