/** What was sent in vain for a day: to be sent again, or dropped. */

import { Title } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useMutation } from "@tanstack/react-query";

import { Ago } from "../../components/Ago";
import { messageOf } from "../../components/Failed";
import { notify } from "../../components/notices";
import { RowActions } from "../../components/RowActions";
import { askWebhooksAgain, dropLetter, retryLetter, useDeadLetters } from "./calls";
import { Answer, whatOf } from "./Deliveries";

export function DeadLetters({ scope }: { scope: string }) {
  const letters = useDeadLetters(scope);
  const retrying = useMutation({
    mutationFn: (id: string) => retryLetter(scope, id),
    onSuccess: () => notify("info", "It is sent again", "For another day, under its old id."),
    onError: (error) => notify("danger", "It is not sent again", messageOf(error)),
    onSettled: () => askWebhooksAgain(scope),
  });
  const dropping = useMutation({
    mutationFn: (id: string) => dropLetter(scope, id),
    onSuccess: () => notify("success", "The dead letter is dropped"),
    onError: (error) => notify("danger", "It was not dropped", messageOf(error)),
    onSettled: () => askWebhooksAgain(scope),
  });
  if (!letters.data || letters.data.items.length === 0) return null;
  return (
    <>
      <Title headingLevel="h2" size="lg" className="yard-gap">
        Dead letters
      </Title>
      <p className="yard-quiet">Sent in vain for a day. Kept for 30 days.</p>
      <Table aria-label="Dead letters" variant="compact">
        <Thead>
          <Tr>
            <Th>Webhook</Th>
            <Th>What</Th>
            <Th>Made</Th>
            <Th width={40}>Answer</Th>
            <Th screenReaderText="Actions" />
          </Tr>
        </Thead>
        <Tbody>
          {letters.data.items.map((letter) => (
            <Tr key={letter.id}>
              <Td dataLabel="Webhook">{letter.webhook}</Td>
              <Td dataLabel="What">{whatOf(letter)}</Td>
              <Td dataLabel="Made">
                <Ago at={letter.created_at} />
              </Td>
              <Td dataLabel="Answer" modifier="breakWord">
                <Answer of={letter} />
              </Td>
              <Td isActionCell>
                <RowActions
                  of={`the dead letter ${letter.id}`}
                  actions={[
                    { words: "Send again", act: () => retrying.mutate(letter.id) },
                    { words: "Drop", act: () => dropping.mutate(letter.id), isDanger: true },
                  ]}
                />
              </Td>
            </Tr>
          ))}
        </Tbody>
      </Table>
    </>
  );
}
