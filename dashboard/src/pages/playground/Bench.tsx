/** Where a model is tried: the request, who is asked, and what each of them answers. */

import {
  Alert,
  Button,
  Card,
  CardBody,
  CardHeader,
  CardTitle,
  Flex,
  Grid,
  GridItem,
  Switch,
} from "@patternfly/react-core";
import { useEffect, useId, useState } from "react";

import type { Model } from "../../api/queries";
import { useCommand } from "../../components/actions/commands";
import { useRefusal } from "../../components/actions/lifecycle";
import { Refusable } from "../../components/Refusable";
import { useMetadata } from "../model/sample";
import { valuesIn } from "./body";
import { pathOf } from "./call";
import { Comparison } from "./Comparison";
import { CodeDialog } from "./CodeDialog";
import { Outcome } from "./Outcome";
import { PastRequests } from "./PastRequests";
import { pictureOf } from "./pictures";
import { RequestForm } from "./RequestCard";
import { wordsOf, written, type Target } from "./targets";
import { useCalls } from "./useCalls";
import { useRequest } from "./useRequest";

// Larger pictures are asked about when one says so.
const AT_ONCE = 4096;

export function Bench({ target, beside }: { target: Target; beside: Target | null }) {
  const metadata = useMetadata(target.model);
  const request = useRequest(metadata?.inputs);
  const calls = useCalls();
  const [isShown, showCode] = useState(false);
  const [atOnce, setAtOnce] = useState(true);
  const id = useId();
  const targets = beside ? [target, beside] : [target];
  const path = pathOf(target.model, target.revision);
  const isDrawn = metadata?.inputs?.some((tensor) => pictureOf(tensor)) ?? false;
  const ask = () => void calls.ask(targets, request.body);
  // What was just drawn is in the request of the next rendering.
  const [drawn, finish] = useState({ isWanted: false });
  const [asked, setAsked] = useState(drawn);
  useEffect(() => {
    if (drawn === asked) return;
    setAsked(drawn);
    const isDue = drawn.isWanted || (atOnce && valuesIn(request.body) <= AT_ONCE);
    if (isDue && path) void calls.ask(targets, request.body);
  });
  const why = request.wrong ? "The JSON cannot be read." : !path ? "The model has no endpoint of this protocol." : null;
  return (
    <Grid hasGutter>
      {targets.map(({ model }) => (
        <NotServing key={model.uid} model={model} />
      ))}
      <GridItem span={12} lg={beside ? 12 : 7}>
        <Card isFullHeight>
          <CardHeader
            actions={{
              hasNoOffset: true,
              actions: (
                <Flex alignItems={{ default: "alignItemsCenter" }} columnGap={{ default: "columnGapMd" }}>
                  {isDrawn && (
                    <Switch
                      id={`${id}-at-once`}
                      label="Ask after each stroke"
                      isChecked={atOnce}
                      onChange={(_, on) => setAtOnce(on)}
                    />
                  )}
                  <Refusable why={why} variant="secondary" onClick={() => showCode(true)}>
                    View code
                  </Refusable>
                  <Refusable why={why} variant="primary" onClick={ask}>
                    {beside ? "Ask both" : "Ask"}
                  </Refusable>
                </Flex>
              ),
            }}
          >
            <CardTitle component="h2">Request</CardTitle>
          </CardHeader>
          <CardBody>
            <RequestForm
              inputs={metadata?.inputs}
              request={request}
              isWide={beside !== null}
              onDone={(isWanted) => finish({ isWanted })}
            />
          </CardBody>
        </Card>
      </GridItem>
      {beside && (
        <GridItem span={12}>
          <Comparison targets={[target, beside]} results={calls.results} />
        </GridItem>
      )}
      {targets.map((one) => (
        <GridItem key={written(one)} span={12} lg={beside ? 6 : 5}>
          <Card isFullHeight>
            <CardHeader>
              <CardTitle component="h2">{beside ? wordsOf(one) : "Answer"}</CardTitle>
            </CardHeader>
            <CardBody>
              <Outcome
                result={calls.results[written(one)] ?? null}
                isAsking={calls.isAsking}
                stop={calls.stop}
                hint={isDrawn ? "Draw, and the answer is here." : "Ask, and the answer is here."}
              />
            </CardBody>
          </Card>
        </GridItem>
      ))}
      <GridItem span={12}>
        <PastRequests use={request.setBody} />
      </GridItem>
      {isShown && (
        <CodeDialog
          path={path}
          body={request.body}
          isPublic={target.model.spec.public ?? false}
          close={() => showCode(false)}
        />
      )}
    </Grid>
  );
}

/** A model that answers nothing now, and how it would. */
function NotServing({ model }: { model: Model }) {
  const command = useCommand(model);
  const refused = useRefusal()(model, "start");
  if (model.status.instances_ready > 0) return null;
  const wakes = model.status.state === "idle";
  return (
    <GridItem span={12}>
      <Alert
        component="h2"
        isInline
        variant="warning"
        title={`${model.name} does not serve now: ${model.status.message || model.status.state}`}
        actionLinks={
          model.status.state === "stopped" &&
          refused === null && (
            <Button variant="link" isInline onClick={() => command.mutate({ command: "start" })}>
              Start
            </Button>
          )
        }
      >
        {wakes ? "It wakes with the next request; its form is here then." : "Its form is here once it serves."}
      </Alert>
    </GridItem>
  );
}
