/** A step of a wizard: its heading, its fields, and beside them what may be said of all of it. */

import { Form, Grid, GridItem, Title } from "@patternfly/react-core";
import { useEffect, type ReactNode } from "react";

interface Props {
  title: string;
  children: ReactNode;
  beside?: ReactNode;
}

export function StepBody({ title, children, beside }: Props) {
  useEffect(() => {
    // In a narrow window the steps fold into a button that says which one is shown; PatternFly names it otherwise.
    document.querySelector(".pf-v6-c-wizard__toggle")?.removeAttribute("aria-label");
  }, []);
  return (
    <Form onSubmit={(event) => event.preventDefault()}>
      <Title headingLevel="h2">{title}</Title>
      {beside ? (
        <Grid hasGutter>
          <GridItem span={12} xl={8} order={{ default: "2", xl: "1" }}>
            <div className="pf-v6-c-form yard-fields">{children}</div>
          </GridItem>
          <GridItem span={12} xl={4} order={{ default: "1", xl: "2" }}>
            {beside}
          </GridItem>
        </Grid>
      ) : (
        children
      )}
    </Form>
  );
}
