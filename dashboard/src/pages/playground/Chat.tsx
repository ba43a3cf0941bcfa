/** A conversation with a model that writes text, which is shown as it is written and can be stopped. */

import {
  Button,
  Card,
  CardBody,
  CardHeader,
  CardTitle,
  Flex,
  FlexItem,
  Form,
  FormGroup,
  TextArea,
} from "@patternfly/react-core";
import { useId, useRef, useState, type FormEvent } from "react";

import { ErrorAlert } from "../../components/Failed";
import { useMetadata } from "../model/sample";
import { CodeDialog } from "./CodeDialog";
import { milliseconds } from "./outputs";
import { asking, isServer, pieces, type Said } from "./stream";
import type { Target } from "./targets";

interface Took {
  first: number;
  whole: number;
  isStopped: boolean;
}

export function Chat({ target: { model, revision } }: { target: Target }) {
  const inputs = useMetadata(model)?.inputs;
  const [said, say] = useState<Said[]>([]);
  const [text, type] = useState("");
  const [took, setTook] = useState<Took | null>(null);
  const [error, fail] = useState<unknown>(null);
  const [isShown, showCode] = useState(false);
  const current = useRef<AbortController | null>(null);
  const [isWriting, setWriting] = useState(false);
  const id = useId();

  const send = async (event: FormEvent) => {
    event.preventDefault();
    if (!text.trim() || isWriting) return;
    const before: Said[] = [...said, { by: "you", text }];
    const controller = new AbortController();
    current.current = controller;
    say([...before, { by: "model", text: "" }]);
    type("");
    fail(null);
    setTook(null);
    setWriting(true);
    const began = performance.now();
    let [written, first] = ["", 0];
    try {
      for await (const piece of pieces(asking(model, revision, inputs, before), controller.signal)) {
        first ||= performance.now() - began;
        written += piece;
        say([...before, { by: "model", text: written }]);
      }
    } catch (wrong) {
      if (!controller.signal.aborted) fail(wrong);
    } finally {
      setWriting(false);
      if (first) setTook({ first, whole: performance.now() - began, isStopped: controller.signal.aborted });
      if (!written) say(before);
    }
  };

  const last: Said[] = text ? [...said, { by: "you", text }] : said;
  const { path, body } = asking(model, revision, inputs, last);
  return (
    <Card>
      <CardHeader>
        <CardTitle component="h2">Chat</CardTitle>
      </CardHeader>
      <CardBody>
        {/* A log is read out as it grows; what is still being written would be read over and over. */}
        <div role="log" aria-label="Conversation" aria-busy={isWriting} tabIndex={0} className="yard-chat-log">
          <ol className="yard-chat">
            {said.map(({ by, text: words }, index) => (
              <li key={index} className={by === "you" ? "yard-chat-you" : undefined}>
                <strong>{by === "you" ? "You" : model.name}</strong>
                <div className="yard-text">{words || "…"}</div>
              </li>
            ))}
          </ol>
        </div>
        {error !== null && <ErrorAlert title="The answer broke off" error={error} />}
        <p className="yard-quiet yard-number yard-chat-state" role="status">
          {isWriting
            ? "Writing…"
            : took
              ? `First words after ${milliseconds(took.first)}, ${took.isStopped ? "stopped" : "all"} after ${milliseconds(took.whole)}`
              : ""}
        </p>
        <Form onSubmit={(event) => void send(event)}>
          <FormGroup label="Message" fieldId={`${id}-text`}>
            <TextArea
              id={`${id}-text`}
              value={text}
              rows={3}
              resizeOrientation="vertical"
              onChange={(_, value) => type(value)}
              onKeyDown={(event) => {
                if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) void send(event);
              }}
            />
          </FormGroup>
          <Flex alignItems={{ default: "alignItemsCenter" }}>
            <FlexItem>
              {isWriting ? (
                <Button variant="primary" onClick={() => current.current?.abort()}>
                  Stop
                </Button>
              ) : (
                <Button variant="primary" type="submit" isDisabled={!text.trim()}>
                  Send
                </Button>
              )}
            </FlexItem>
            <FlexItem>
              <Button variant="secondary" onClick={() => showCode(true)}>
                View code
              </Button>
            </FlexItem>
            <FlexItem className="yard-quiet">
              Enter sends.{" "}
              {isServer(model)
                ? "The conversation so far is sent with each message."
                : "Each message is a prompt of its own: the model is not told what came before."}
            </FlexItem>
          </Flex>
        </Form>
      </CardBody>
      {isShown && (
        <CodeDialog
          isStream
          path={path}
          body={body}
          isPublic={model.spec.public ?? false}
          close={() => showCode(false)}
        />
      )}
    </Card>
  );
}
