/** Sign in by a one-time link, an API key, or the identity provider. */

import {
  ActionList,
  ActionListItem,
  Alert,
  Button,
  Card,
  CardBody,
  CardHeader,
  Content,
  Divider,
  Flex,
  Form,
  FormGroup,
  FormHelperText,
  HelperText,
  HelperTextItem,
  Spinner,
  TextInput,
  Title,
} from "@patternfly/react-core";
import { useMutation } from "@tanstack/react-query";
import { useEffect, useRef, useState, type FormEvent, type ReactNode } from "react";
import { Navigate, useNavigate, useSearchParams } from "react-router";

import { ErrorAlert } from "../components/Failed";
import { signIn, useSession } from "./session";

export function SignIn() {
  const [parameters] = useSearchParams();
  const session = useSession();
  const navigate = useNavigate();
  const [key, setKey] = useState("");
  const code = parameters.get("code");
  const to = ownPath(parameters.get("to"));
  const signing = useMutation({
    mutationFn: signIn,
    onSuccess: () => navigate(to, { replace: true }),
  });
  // A link is taken once; React may run an effect twice.
  const taken = useRef("");
  const take = signing.mutate;
  // Whoever is signed in is asked first: else any page's link could make somebody else of them.
  const isNobody = session.data?.signed_in === false;
  useEffect(() => {
    if (code && isNobody && taken.current !== code) {
      taken.current = code;
      take({ code });
    }
  }, [code, isNobody, take]);

  if (code && (session.isPending || signing.isPending))
    return (
      <Frame title="Sign in to Modelyard">
        <Spinner aria-label="Signing in" />
      </Frame>
    );
  if (session.data?.signed_in) {
    if (!code || signing.isSuccess) return <Navigate to={to} replace />;
    return (
      <Frame title="Sign in by this link?">
        {signing.error && <ErrorAlert title="Signing in failed" error={signing.error} />}
        <Content component="p">
          {session.data.name} is signed in here already. The link signs in whoever made it, in place of{" "}
          {session.data.name}. Go on only if you made it yourself.
        </Content>
        <ActionList>
          <ActionListItem>
            <Button variant="primary" onClick={() => navigate(to, { replace: true })}>
              Stay {session.data.name}
            </Button>
          </ActionListItem>
          <ActionListItem>
            <Button variant="secondary" isDisabled={signing.isError} onClick={() => take({ code })}>
              Sign in by the link
            </Button>
          </ActionListItem>
        </ActionList>
      </Frame>
    );
  }
  const issuer = session.data?.issuer;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    signing.mutate({ key: key.trim() });
  };
  return (
    <Frame title="Sign in to Modelyard">
      <Form onSubmit={submit}>
        {signing.error ? (
          <ErrorAlert title="Signing in failed" error={signing.error} />
        ) : (
          session.data?.ended !== undefined && (
            <Alert variant="warning" isInline title="You are signed out" role="status">
              {session.data.ended}
            </Alert>
          )
        )}
        {/* For password managers, which keep a key by the name that it belongs to. */}
        <input type="text" name="username" autoComplete="username" value="modelyard" readOnly hidden />
        <FormGroup label="API key" fieldId="key">
          <TextInput
            id="key"
            type="password"
            value={key}
            onChange={(_, value) => setKey(value)}
            autoComplete="current-password"
            autoFocus
          />
          <FormHelperText>
            <HelperText>
              <HelperTextItem>
                On the machine itself, <code>modelyard dashboard</code> prints a link that signs you in.
              </HelperTextItem>
            </HelperText>
          </FormHelperText>
        </FormGroup>
        <Button type="submit" variant="primary" isBlock isDisabled={!key.trim()} isLoading={signing.isPending}>
          Sign in
        </Button>
        {issuer && (
          <>
            <Divider />
            <Button
              variant="secondary"
              isBlock
              component="a"
              href={`/api/v1/session/oidc?return_to=${encodeURIComponent(`/#${to}`)}`}
            >
              Sign in with {issuer}
            </Button>
          </>
        )}
      </Form>
    </Frame>
  );
}

function Frame({ title, children }: { title: string; children: ReactNode }) {
  return (
    <main className="yard-sign-in">
      <Card>
        <CardHeader>
          <Flex alignItems={{ default: "alignItemsCenter" }} flexWrap={{ default: "nowrap" }}>
            <img src="./mark.svg" alt="" className="yard-mark" />
            <Title headingLevel="h1">{title}</Title>
          </Flex>
        </CardHeader>
        <CardBody>{children}</CardBody>
      </Card>
    </main>
  );
}

/** Only a path of this page: a link must not lead elsewhere. */
function ownPath(path: string | null): string {
  return path?.startsWith("/") && !path.startsWith("//") ? path : "/";
}
