/** What a namespace holds of its quota, and which features it may use. */

import { Button, Card, CardBody, CardHeader, CardTitle, Grid, GridItem, Tooltip } from "@patternfly/react-core";
import { useState } from "react";
import { Link } from "react-router";

import { useMe } from "../../api/queries";
import { Ago } from "../../components/Ago";
import type { Namespace } from "./calls";
import { EditNamespaceDialog } from "./EditNamespaceDialog";
import { Features } from "./Features";
import { QuotaBars } from "./quota";

export function Overview({ namespace }: { namespace: Namespace }) {
  const [isEditing, edit] = useState(false);
  const oversees = useMe().data?.oversees ?? false;
  const button = (
    <Button variant="secondary" isAriaDisabled={!oversees} onClick={() => oversees && edit(true)}>
      Edit
    </Button>
  );
  return (
    <Grid hasGutter>
      <GridItem span={12} lg={6}>
        <Card isFullHeight>
          <CardHeader
            actions={{
              actions: oversees ? (
                button
              ) : (
                <Tooltip content="It takes the role administrator in all namespaces.">{button}</Tooltip>
              ),
            }}
          >
            <CardTitle component="h2">Quota</CardTitle>
          </CardHeader>
          <CardBody>
            <QuotaBars quota={namespace.quota} usage={namespace.usage} />
            <p className="yard-quiet yard-gap">
              What its models may hold at a time, on all machines. Made <Ago at={namespace.created_at} />.{" "}
              {namespace.require_signature && (
                <Link to={`/namespaces/${namespace.name}/signatures`}>Signed versions only.</Link>
              )}
            </p>
          </CardBody>
        </Card>
      </GridItem>
      <GridItem span={12} lg={6}>
        <Features namespace={namespace} mayChange={oversees} />
      </GridItem>
      {isEditing && <EditNamespaceDialog namespace={namespace} close={() => edit(false)} />}
    </Grid>
  );
}
