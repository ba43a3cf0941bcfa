/** Version, address, how people sign in, and the sites with their leases. */

import {
  Card,
  CardBody,
  CardHeader,
  CardTitle,
  ClipboardCopy,
  DescriptionList,
  DescriptionListDescription,
  DescriptionListGroup,
  DescriptionListTerm,
  Grid,
  GridItem,
  Label,
} from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import type { ReactNode } from "react";

import type { Schemas } from "../../api/client";
import { useSession } from "../../app/session";
import { Ago } from "../../components/Ago";
import { Failed } from "../../components/Failed";
import { LoadingRows } from "../../components/Rows";
import { useInstallation, type Installation } from "./calls";

export function About() {
  const installation = useInstallation();
  const { data, error } = installation;
  if (error && !data) return <Failed error={error} retry={() => void installation.refetch()} />;
  if (!data) return <LoadingRows rows={8} words="Loading the installation" />;
  return (
    <Grid hasGutter>
      <GridItem span={12} lg={6}>
        <Card isFullHeight>
          <CardHeader>
            <CardTitle component="h2">This installation</CardTitle>
          </CardHeader>
          <CardBody>
            <DescriptionList isHorizontal isCompact>
              <Fact term="Version">{data.version}</Fact>
              <Fact term="Address">
                <ClipboardCopy
                  variant="inline-compact"
                  hoverTip="Copy"
                  clickTip="Copied"
                  copyAriaLabel="Copy the address"
                >
                  {data.address}
                </ClipboardCopy>
                <SetBy name="MODELYARD_PUBLIC_URL" />
              </Fact>
              <Fact term="Record kept">
                {valueOf(data, "MODELYARD_AUDIT_DAYS") ? `${valueOf(data, "MODELYARD_AUDIT_DAYS")} days` : "for ever"}
                <SetBy name="MODELYARD_AUDIT_DAYS" />
              </Fact>
            </DescriptionList>
          </CardBody>
        </Card>
      </GridItem>
      <GridItem span={12} lg={6}>
        <SignInCard installation={data} />
      </GridItem>
      <GridItem span={12}>
        <Card>
          <CardHeader>
            <CardTitle component="h2">Sites and leases</CardTitle>
          </CardHeader>
          <CardBody>
            <SiteTable sites={data.sites} />
          </CardBody>
        </Card>
      </GridItem>
    </Grid>
  );
}

function SignInCard({ installation }: { installation: Installation }) {
  const session = useSession().data;
  return (
    <Card isFullHeight>
      <CardHeader>
        <CardTitle component="h2">Signing in</CardTitle>
      </CardHeader>
      <CardBody>
        <DescriptionList isHorizontal isCompact>
          <Fact term="One-time link">
            printed by <code>modelyard dashboard</code> on the machine itself
          </Fact>
          <Fact term="API key">any that works</Fact>
          <Fact term="Identity provider">
            {session?.issuer || valueOf(installation, "MODELYARD_OIDC_ISSUER") || "none"}
            {!session?.issuer &&
              valueOf(installation, "MODELYARD_OIDC_ISSUER") &&
              " (its tokens are taken; no sign-in)"}
            <SetBy name="MODELYARD_OIDC_ISSUER" /> <SetBy name="MODELYARD_OIDC_CLIENT_ID" />
          </Fact>
        </DescriptionList>
      </CardBody>
    </Card>
  );
}

function SiteTable({ sites }: { sites: Schemas["SiteLease"][] }) {
  return (
    <Table aria-label="Sites" variant="compact">
      <Thead>
        <Tr>
          <Th>Site</Th>
          <Th>Lease</Th>
          <Th>Home</Th>
          <Th>Machine</Th>
          <Th>Address</Th>
          <Th>Last heard of</Th>
        </Tr>
      </Thead>
      <Tbody>
        {sites.map((site) => (
          <Tr key={site.site}>
            <Td dataLabel="Site">
              <code>{site.site}</code>
              {site.answers && <div className="yard-quiet">answers you now</div>}
            </Td>
            <Td dataLabel="Lease">
              <Lease of={site} />
            </Td>
            <Td dataLabel="Home" modifier="breakWord">
              {site.home}
            </Td>
            <Td dataLabel="Machine" modifier="breakWord">
              {site.machine}
            </Td>
            <Td dataLabel="Address">{site.url}</Td>
            <Td dataLabel="Last heard of">{site.driven ? "now" : <Ago at={site.seen_at} />}</Td>
          </Tr>
        ))}
      </Tbody>
    </Table>
  );
}

function Lease({ of }: { of: Schemas["SiteLease"] }) {
  if (of.driven) {
    return (
      <>
        <Label status="success" isCompact>
          Held
        </Label>
        <div className="yard-quiet yard-number">
          process {of.process}, lease {of.token}
        </div>
      </>
    );
  }
  return (
    <Label status={of.down ? "info" : "danger"} isCompact>
      {of.down ? "Taken down" : "Nobody holds it"}
    </Label>
  );
}

function Fact({ term, children }: { term: string; children: ReactNode }) {
  return (
    <DescriptionListGroup>
      <DescriptionListTerm>{term}</DescriptionListTerm>
      <DescriptionListDescription>{children}</DescriptionListDescription>
    </DescriptionListGroup>
  );
}

/** Where something is set that no page can change. */
export function SetBy({ name }: { name: string }) {
  return (
    <div className="yard-quiet">
      set by <code>{name}</code>
    </div>
  );
}

const valueOf = (installation: Installation, name: string) =>
  installation.settings.find((setting) => setting.name === name)?.value ?? "";
