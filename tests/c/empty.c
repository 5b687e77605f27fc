/* A C program that does nothing: what embed.c is measured against. */
int main(void) { return 0; }
